-- Whether Redis takes what is written, and who is there; one that has lost its data is told how the nodes are set up.
-- All nodes hear of that.
-- KEYS 1 what is written 2 leases 3 how 4 topic of losses; ARGV 1 deadline 2 node 3... name, value, name, value...
-- {'taken', nodes that hold a lease}
redis.call('SET', KEYS[1], ARGV[2], 'PX', 60000)
if redis.call('EXISTS', KEYS[3]) == 0 then
  for at = 3, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1]) end
  redis.call('SPUBLISH', KEYS[4], '')
end
local reply = redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf')
table.insert(reply, 1, now)
table.insert(reply, 2, 'taken')
return reply
