-- The objects of a channel, and what the stream has behind them. KEYS 1 objects 2 stream; ARGV 1 deadline
-- {how many parts follow of the objects, these, entries...}
local all = redis.call('HGETALL', KEYS[1])
local reply = {now, #all}
local upto, newest = '', ''
for at = 1, #all, 2 do
  if all[at] == 'u' then upto = all[at + 1]:sub(9) elseif all[at] == 'n' then newest = all[at + 1] end
  reply[#reply + 1] = all[at]
  reply[#reply + 1] = all[at + 1]
end
if newest ~= upto and newest ~= '' then
  local function id(place) return string.format('%.0f-%d', struct.unpack('>I8I2', place)) end
  local from = upto == '' and '-' or '(' .. id(upto)
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], from, id(newest))) do reply[#reply + 1] = entry[2][2] end
end
return reply
