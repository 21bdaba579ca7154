-- What the scripts about a channel have in common. KEYS 1 head, 2 stream. `now` and the check of ARGV[1] come before this.
-- A place is 8 bytes of milliseconds and 2 of a counter. A head is epoch(8) place(10) bytes ever(8) judged(10): the place of
-- the newest entry that the next is judged by.
local function pack(ms, counter) return struct.pack('>I8I2', ms, counter) end

-- The head: its epoch, the milliseconds and the counter of its place, the bytes ever, the place judged by, and whether it is to
-- be written anew. Its epoch is `new` when there was none, or when somebody has seen a place behind it: then entries that were
-- acknowledged are lost.
local function head(seen_epoch, seen_place, new)
  local h = redis.call('GET', KEYS[1])
  if h then
    local epoch, ms, counter, bytes = h:sub(1, 8), struct.unpack('>I8I2I8', h, 9)
    local judged = #h == 36 and h:sub(27) or pack(0, 0)
    local seen_ms, seen_counter = struct.unpack('>I8I2', seen_place)
    if epoch == seen_epoch and (seen_ms > ms or seen_ms == ms and seen_counter > counter) then epoch = new end
    return epoch, ms, counter, bytes, judged, epoch ~= h:sub(1, 8)
  end
  local ms, counter = 0, 0
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if last then ms, counter = last[1]:match('(%d+)-(%d+)') end
  return new, tonumber(ms), tonumber(counter), 0, pack(0, 0), true
end
