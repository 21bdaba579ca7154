-- Notes how many use a channel at a node, and gives it as many counted seats as the others leave of them.
-- KEYS 1 counts 2 leases 3 channels of the node 4 topic. A node that asks lives.
-- ARGV 1 deadline 2 node 3 channel 4 seats of all nodes 5 seats that the node wants 6 that it believes to have 7 its other counts
-- 8 milliseconds to keep them 9 milliseconds of a lease
-- {its seats, nodes and their counts...}
local own = redis.call('ZSCORE', KEYS[2], ARGV[2])
if not own or tonumber(own) < now then redis.call('ZADD', KEYS[2], now + ARGV[9], ARGV[2]) end
local wanted, held = tonumber(ARGV[5]), tonumber(ARGV[6])
local reply, others, had = {now, 0}, 0, 0
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  -- Of a node that was taken for dead nothing is left: its seats may be others' by now.
  if all[at] == ARGV[2] then had = struct.unpack('>I4', all[at + 1]) end
  local lease = all[at] ~= ARGV[2] and redis.call('ZSCORE', KEYS[2], all[at])
  if lease and tonumber(lease) >= now then
    others = others + struct.unpack('>I4', all[at + 1])
    reply[#reply + 1] = all[at]
    reply[#reply + 1] = all[at + 1]
  end
end
-- Who has a seat keeps it.
held = math.min(held, had)
if wanted > held then wanted = math.max(held, math.min(wanted, tonumber(ARGV[4]) - others)) end
reply[2] = wanted
local counts = struct.pack('>I4', wanted) .. ARGV[7]
redis.call('HSET', KEYS[1], ARGV[2], counts)
if counts:find('[^%z]') then redis.call('SADD', KEYS[3], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('SPUBLISH', KEYS[4], 'c' .. ARGV[2] .. counts)
return reply
