-- Some of the channels in which a node has something. KEYS 1 channels of the node; ARGV 1 deadline 2 how many
local reply = redis.call('SRANDMEMBER', KEYS[1], ARGV[2])
table.insert(reply, 1, 'owned')
table.insert(reply, 1, now)
return reply
