-- What the log has of messages: their entries, their versions, their annotations; of as many as fit.
-- KEYS 1 head 2 stream 3 what the lists of versions are called but for the message 4 those of annotations
-- ARGV 1 deadline 2 most bytes 3... messages, each with the id of its entry
-- {'messages', of each: entry or nothing, how many versions follow, these, how many annotations, these}
local reply, size = {now, 'messages'}, 0
local function add(part)
  size = size + #part
  reply[#reply + 1] = part
end
for at = 3, #ARGV, 2 do
  local own = redis.call('XRANGE', KEYS[2], ARGV[at + 1], ARGV[at + 1])[1]
  add(own and own[2][2] or '')
  for _, list in ipairs({KEYS[3], KEYS[4]}) do
    local all = redis.call('LRANGE', list .. ARGV[at], 0, -1)
    reply[#reply + 1] = #all
    for _, part in ipairs(all) do add(part) end
  end
  if size >= tonumber(ARGV[2]) then break end
end
return reply
