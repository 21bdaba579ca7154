-- Reads some of the rows that all nodes have. KEYS 1 rows; ARGV 1 deadline 2 where to go on 3 about how many
-- {where to go on, name, value, name, value...}
local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local reply = {now, found[1]}
for _, part in ipairs(found[2]) do reply[#reply + 1] = part end
return reply
