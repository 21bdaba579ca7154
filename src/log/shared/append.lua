-- Appends an entry once, and publishes it.
-- KEYS 1 head 2 stream 3 ids of even halves 4 of odd ones 5 topic 6 touched messages 7 leases, and
--   of presence 8 members 9 channels of the node; of an operation 8 versions of its message; of annotations 8... those of each;
--   of operations on objects 8 objects
-- ARGV 1 deadline 2 seen epoch 3 seen place 4 new epoch 5 age in ms 6 most bytes 7 id 8 items 9 node 10 body
-- 11 the place that it was judged by, or nothing, and
--   of presence 12 'p' 13 channel 14... fields of the members, each with its value; of an operation 12 's' if it has the whole
--   message, 'e' if only what is appended 13 message; of annotations 12 'n' 13... messages; of operations on objects 12 'o'
--   13 milliseconds to keep the objects
-- {'again', epoch, place, items}, {'kept', epoch, place before, place}; {'behind'}: it was judged by too little; {'fenced'}: the
-- lease of its node is over; {'bare'}: what it is appended to is not at hand, so it has to bring the whole message
local half = math.floor(now / 120000)
local ids, older = KEYS[3], KEYS[4]
if half % 2 == 1 then ids, older = older, ids end
local current = redis.call('HMGET', ids, '', ARGV[7])
local former = redis.call('HMGET', older, '', ARGV[7])
local is_current = current[1] == string.format('%d', half)
local was = is_current and current[2] or former[1] == string.format('%d', half - 1) and former[2]
if was then return {now, 'again', was:sub(1, 8), was:sub(9, 18), was:sub(19)} end

local epoch, ms, counter, bytes, judged = head(ARGV[2], ARGV[3], ARGV[4])
if ARGV[11] ~= '' then
  if epoch ~= ARGV[2] or judged ~= ARGV[11] then return {now, 'behind'} end
  local lease = redis.call('ZSCORE', KEYS[7], ARGV[9])
  if not lease or tonumber(lease) < now then return {now, 'fenced'} end
  if ARGV[12] == 'e' and redis.call('EXISTS', KEYS[8]) == 0 then return {now, 'bare'} end
end
local previous = pack(ms, counter)
-- What objects there are may be newer than the log, which begins anew when nobody has used it for long.
local newest = ARGV[12] == 'o' and redis.call('HGET', KEYS[8], 'n')
if newest then
  local newest_ms, newest_counter = struct.unpack('>I8I2', newest)
  if newest_ms > ms then ms, counter = newest_ms, newest_counter end
end
if now > ms then ms, counter = now, 0 elseif counter < 999 then counter = counter + 1 else ms, counter = ms + 1, 0 end
local place = pack(ms, counter)
local size = #ARGV[10] + 128
local most = tonumber(ARGV[6])
-- Looked at sixteen times while a stream is filled.
local is_due = bytes % (most / 16) + size >= most / 16
bytes = bytes + size
local entry = 'e' .. epoch .. previous .. place .. struct.pack('>I8', bytes) .. ARGV[9] .. ARGV[10]
redis.call('XADD', KEYS[2], 'MINID', '~', string.format('%.0f', now - ARGV[5]), string.format('%.0f-%d', ms, counter), 'e', entry)
if is_due then
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  while first do
    local before = struct.unpack('>I8', first[2][2], 30)
    if bytes - before <= most then break end
    redis.call('XTRIM', KEYS[2], 'MAXLEN', math.floor(redis.call('XLEN', KEYS[2]) * 0.9))
    first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  end
  -- What was done to a message goes with the newest entry that has done it.
  local oldest = first and first[1]:match('%d+') or '+inf'
  for _, message in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', '(' .. oldest, 'LIMIT', 0, 1000)) do
    for _, kind in ipairs({'}v:', '}w:'}) do
      redis.call('DEL', (KEYS[6]:gsub('}k:', kind, 1)) .. ':' .. message)
    end
    redis.call('ZREM', KEYS[6], message)
  end
end
if ARGV[11] ~= '' then judged = place end
redis.call('SET', KEYS[1], epoch .. place .. struct.pack('>I8', bytes) .. judged, 'PX', ARGV[5] + 600000)
redis.call('PEXPIRE', KEYS[2], ARGV[5] + 60000)
if not is_current then
  redis.call('DEL', ids)
  redis.call('HSET', ids, '', string.format('%d', half))
end
redis.call('HSET', ids, ARGV[7], epoch .. place .. ARGV[8])
redis.call('PEXPIRE', ids, 240000)
local function note(list, message, kind)
  if kind == 's' then redis.call('DEL', list) end
  redis.call('RPUSH', list, kind .. place .. ARGV[10])
  redis.call('PEXPIRE', list, ARGV[5] + 60000)
  redis.call('ZADD', KEYS[6], ms, message)
  redis.call('PEXPIRE', KEYS[6], ARGV[5] + 60000)
end
if ARGV[12] == 'p' then
  for at = 14, #ARGV, 2 do
    local field, value = ARGV[at], ARGV[at + 1]
    if value == '' then
      redis.call('HDEL', KEYS[8], field)
    else
      -- A member is as old as its entry.
      if field:sub(1, 1) == 'm' then value = place .. value end
      redis.call('HSET', KEYS[8], field, value)
    end
  end
  redis.call('PEXPIRE', KEYS[8], ARGV[5] + 600000)
  redis.call('SADD', KEYS[9], ARGV[13])
elseif ARGV[12] == 'o' then
  redis.call('HSET', KEYS[8], 'n', place)
  redis.call('PEXPIRE', KEYS[8], ARGV[13])
elseif ARGV[12] == 'n' then
  for at = 13, #ARGV do note(KEYS[at - 5], ARGV[at], 'e') end
elseif ARGV[12] then
  note(KEYS[8], ARGV[13], ARGV[12])
end
redis.call('SPUBLISH', KEYS[5], entry)
return {now, 'kept', epoch, previous, place}
