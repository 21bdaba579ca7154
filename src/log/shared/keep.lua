-- Keeps what all of a list up to a place comes to, in their stead. KEYS 1 list; ARGV 1 deadline 2 place 3 that
-- 4 milliseconds to keep the list
-- Redis compares texts by its locale.
local function number(place)
  local ms, counter = struct.unpack('>I8I2', place)
  return ms * 1000 + counter
end
local upto = number(ARGV[2])
local first = redis.call('LINDEX', KEYS[1], 0)
-- Every node that has counted so far says it.
local at = first and number(first:sub(2, 11))
if not first or at > upto or first:sub(1, 1) == 's' and at == upto then return {now, 'kept'} end
while first and number(first:sub(2, 11)) <= upto do
  redis.call('LPOP', KEYS[1])
  first = redis.call('LINDEX', KEYS[1], 0)
end
redis.call('LPUSH', KEYS[1], 's' .. ARGV[2] .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {now, 'kept'}
