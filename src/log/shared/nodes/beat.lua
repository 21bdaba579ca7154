-- Whether Redis takes what is written, and who is there. KEYS 1 what is written 2 leases; ARGV 1 deadline 2 node
-- {nodes that hold a lease}
redis.call('SET', KEYS[1], ARGV[2], 'PX', 60000)
local reply = redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf')
table.insert(reply, 1, now)
return reply
