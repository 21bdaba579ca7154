-- Renews the leases of a node. KEYS 1... leases, each of one domain; ARGV 1 deadline 2 node 3 milliseconds 4 how many domains
-- of each {1 if it was still held, the live node that is lowest in order, how many nodes follow whose leases are over, these...}
local reply = {now}
for at = 1, tonumber(ARGV[4]) do
  local was_held, lowest, dead = 0, ARGV[2], {}
  local all = redis.call('ZRANGE', KEYS[at], 0, -1, 'WITHSCORES')
  redis.call('ZADD', KEYS[at], now + ARGV[3], ARGV[2])
  for of = 1, #all, 2 do
    local node, is_over = all[of], tonumber(all[of + 1]) < now
    if node == ARGV[2] then
      was_held = is_over and 0 or 1
    elseif not is_over then
      if node < lowest then lowest = node end
    elseif redis.call('EXISTS', (KEYS[at]:gsub('leases$', 'c:')) .. node) == 1 then
      dead[#dead + 1] = node
    else
      -- Who has left nothing is forgotten.
      redis.call('ZREM', KEYS[at], node)
    end
  end
  for _, part in ipairs({was_held, lowest, #dead}) do reply[#reply + 1] = part end
  for _, node in ipairs(dead) do reply[#reply + 1] = node end
end
return reply
