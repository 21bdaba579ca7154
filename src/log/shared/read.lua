-- Reads entries, and where the log stands. Keeps the head while somebody reads.
-- KEYS 1 head 2 stream 3 members 4 counts of nodes 5 touched messages 6 objects
-- ARGV 1 deadline 2 seen epoch 3 seen place 4 new epoch 5 age in ms 6 first id 7 last id 8 'f' oldest first, 'b' newest first
-- 9 most entries 10 most bytes 11 the node, if it joins, and is told of members and counts 12 milliseconds to keep the objects
-- {epoch, place of the head, place before the oldest entry, 1 if there is more, place judged by, 1 if
-- messages are touched, how many parts follow of the
-- members, these, how many of the counts, these, entries...}
local epoch, ms, counter, bytes, judged, is_new = head(ARGV[2], ARGV[3], ARGV[4])
local life = ARGV[5] + 600000
if is_new then
  -- Out of memory it can still be read, but not gone on from: each reading would be another life of the log.
  local goes_on = ARGV[11] ~= '' or ARGV[2]:find('[^%z]')
  local set = goes_on and redis.call or redis.pcall
  set('SET', KEYS[1], epoch .. pack(ms, counter) .. struct.pack('>I8', bytes) .. judged, 'PX', life)
else
  redis.call('PEXPIRE', KEYS[1], life)
end
redis.call('PEXPIRE', KEYS[6], ARGV[12])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local floor = oldest and oldest[2][2]:sub(10, 19) or pack(ms, counter)
local reply = {now, epoch, pack(ms, counter), floor, 0, judged, redis.call('EXISTS', KEYS[5])}
for _, key in ipairs({KEYS[3], KEYS[4]}) do
  redis.call('PEXPIRE', key, life)
  local all = ARGV[11] ~= '' and redis.call('HGETALL', key) or {}
  reply[#reply + 1] = #all
  for _, part in ipairs(all) do reply[#reply + 1] = part end
end
-- What a node counts says also that it has the channel open; it counts nobody yet.
if ARGV[11] ~= '' then
  redis.pcall('HSETNX', KEYS[4], ARGV[11], string.rep('\0', 32))
  redis.call('PEXPIRE', KEYS[4], life)
end
local from, to, left = ARGV[6], ARGV[7], tonumber(ARGV[9])
local size, most = 0, tonumber(ARGV[10])
while true do
  local count = math.min(left, 64)
  local found
  if ARGV[8] == 'f' then
    found = redis.call('XRANGE', KEYS[2], from, to, 'COUNT', count)
  else
    found = redis.call('XREVRANGE', KEYS[2], to, from, 'COUNT', count)
  end
  local taken = 0
  for _, entry in ipairs(found) do
    taken = taken + 1
    reply[#reply + 1] = entry[2][2]
    size = size + #entry[2][2]
    left = left - 1
    if ARGV[8] == 'f' then from = '(' .. entry[1] else to = '(' .. entry[1] end
    if size >= most then break end
  end
  if taken == #found and #found < count then break end
  if left == 0 or size >= most then
    reply[5] = 1
    break
  end
end
return reply
