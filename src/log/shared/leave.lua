-- A node has nothing in a channel any more. KEYS 1 counts 2 channels of the node 3 topic; ARGV 1 deadline 2 node 3 channel
redis.call('SREM', KEYS[2], ARGV[3])
if redis.call('HDEL', KEYS[1], ARGV[2]) == 1 then
  redis.call('PUBLISH', KEYS[3], 'c' .. ARGV[2] .. string.rep('\0', 32))
end
return {now, 'left'}
