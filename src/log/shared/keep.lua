-- Keeps what all of a list up to a place comes to, in their stead. KEYS 1 list; ARGV 1 deadline 2 place 3 that
-- 4 milliseconds to keep the list
local first = redis.call('LINDEX', KEYS[1], 0)
-- Every node that has counted so far says it.
if not first or first:sub(2, 11) > ARGV[2] or first:sub(1, 1) == 's' and first:sub(2, 11) == ARGV[2] then return {now, 'kept'} end
while first and first:sub(2, 11) <= ARGV[2] do
  redis.call('LPOP', KEYS[1])
  first = redis.call('LINDEX', KEYS[1], 0)
end
redis.call('LPUSH', KEYS[1], 's' .. ARGV[2] .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {now, 'kept'}
