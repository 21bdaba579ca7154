-- The objects of a channel, and some of what the stream has behind them. KEYS 1 objects 2 stream; ARGV 1 deadline 2 most bytes of it
-- {1 if there is more behind these entries, how many parts follow of the objects, these, entries...}
local all = redis.call('HGETALL', KEYS[1])
local reply = {now, 0, #all}
local upto, newest = '', ''
for at = 1, #all, 2 do
  if all[at] == 'u' then upto = all[at + 1]:sub(9) elseif all[at] == 'n' then newest = all[at + 1] end
  reply[#reply + 1] = all[at]
  reply[#reply + 1] = all[at + 1]
end
if newest ~= upto and newest ~= '' then
  local function id(place) return string.format('%.0f-%d', struct.unpack('>I8I2', place)) end
  local from, size, most = upto == '' and '-' or '(' .. id(upto), 0, tonumber(ARGV[2])
  local found
  repeat
    found = redis.call('XRANGE', KEYS[2], from, id(newest), 'COUNT', 64)
    for _, entry in ipairs(found) do
      if size >= most then
        reply[2] = 1
        return reply
      end
      reply[#reply + 1] = entry[2][2]
      size = size + #entry[2][2]
      from = '(' .. entry[1]
    end
  until #found < 64
end
return reply
