-- Renews the lease of a node. KEYS 1 leases; ARGV 1 deadline 2 node 3 milliseconds
-- {1 if it was still held, the live node that is lowest in order, the nodes whose leases are over...}
local before = redis.call('ZSCORE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
local lowest = ARGV[2]
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  if node < lowest then lowest = node end
end
local reply = {now, before and tonumber(before) >= now and 1 or 0, lowest}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)) do
  -- Who has left nothing is forgotten.
  if redis.call('EXISTS', 'ls:c:' .. node) == 1 then reply[#reply + 1] = node else redis.call('ZREM', KEYS[1], node) end
end
return reply
