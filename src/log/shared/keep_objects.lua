-- Keeps rows of the objects of a channel, if newer ones are not kept. KEYS 1 head 2 stream 3 objects
-- ARGV 1 deadline 2 seen epoch 3 seen place 4 new epoch 5 milliseconds to keep the head 6 the objects 7 the place that the rows go
-- on from, or nothing: they are all 8 epoch and place that they are as at 9... fields, each with its value, or nothing if it is gone
-- {'kept'}, or {'behind'}: what they go on from is not kept
local function number(place)
  if not place then return -1 end
  local ms, counter = struct.unpack('>I8I2', place)
  return ms * 1000 + counter
end
local is_all = ARGV[7] == ''
local kept, place = redis.call('HGET', KEYS[3], 'u'), ARGV[8]:sub(9)
local upto = number(kept and kept:sub(9))
if upto > number(place) or is_all and upto == number(place) then return {now, 'kept'} end
if not is_all then
  if upto < number(ARGV[7]) then return {now, 'behind'} end
else
  local newest = redis.call('HGET', KEYS[3], 'n')
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[3], 'n', number(newest) > number(place) and newest or place)
  local epoch, ms, counter, bytes, judged, is_new = head(ARGV[2], ARGV[3], ARGV[4])
  -- They are of a life of the log that Redis has lost: whoever has begun without them begins anew.
  if epoch ~= ARGV[8]:sub(1, 8) and not is_new then epoch, is_new = ARGV[4], true end
  if is_new then
    redis.call('SET', KEYS[1], epoch .. pack(ms, counter) .. struct.pack('>I8', bytes) .. judged, 'PX', ARGV[5])
  end
end
for at = 9, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[3], ARGV[at])
  else
    redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  end
end
redis.call('HSET', KEYS[3], 'u', ARGV[8])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
return {now, 'kept'}
