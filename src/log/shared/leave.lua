-- A node has a channel open no more, and nothing in it. KEYS 1 counts 2 channels of the node 3 topic; ARGV 1 deadline 2 node 3 channel
-- {'left', other nodes that have it open, or had it when they died...}
redis.call('SREM', KEYS[2], ARGV[3])
if redis.call('HDEL', KEYS[1], ARGV[2]) == 1 then
  redis.call('SPUBLISH', KEYS[3], 'c' .. ARGV[2] .. string.rep('\0', 32))
end
local reply = {now, 'left'}
for _, node in ipairs(redis.call('HKEYS', KEYS[1])) do reply[#reply + 1] = node end
return reply
