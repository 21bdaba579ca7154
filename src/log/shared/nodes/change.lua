-- Changes rows that all nodes have, and tells them. KEYS 1 rows 2 topic; ARGV 1 deadline 2 most rows 3 what is told 4 how many are put,
-- then name, value of each, then the names of those that go. {'done'} or {'full'}
local puts = tonumber(ARGV[4])
local last = 4 + 2 * puts
for at = last + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[at]) end
if redis.call('HLEN', KEYS[1]) + puts > tonumber(ARGV[2]) then return {now, 'full'} end
for at = 5, last, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('SPUBLISH', KEYS[2], ARGV[3])
return {now, 'done'}
