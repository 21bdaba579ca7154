-- Carries out a batch. KEYS: what the keys of the store begin with. ARGV: deadline, id of the batch, steps.
-- Gives "done" and what was counted and taken; "changed": a row is not as expected, and nothing was done.
local P = KEYS[1]
local told = P .. 'o:' .. ARGV[2]
local known = redis.call('GET', told)
if known then
    local answer = cmsgpack.unpack(known)
    answer[1] = now
    return answer
end
local sizes = {p = 3, r = 2, s = 4, c = 2, t = 3, u = 2, a = 2, n = 4}
-- Of the first entry that is appended: as a number, as eight bytes, and as those of 2^64 - 1 less the number.
local place, rising, falling
local function note(id)
    local ms, n = string.match(id, '(%d+)-(%d+)')
    place = ms * 1024 + n
    local high, low = math.floor(place / 4294967296), place % 4294967296
    rising = struct.pack('>I4I4', high, low)
    falling = struct.pack('>I4I4', 4294967295 - high, 4294967295 - low)
end
local at = 3
while ARGV[at] == 'e' do
    local value = redis.call('HGET', P .. 'r:' .. ARGV[at + 1], ARGV[at + 2])
    local expected = ARGV[at + 3] == '1' and ARGV[at + 4]
    if value ~= expected then return {now, 'changed'} end
    at = at + 5
end
local grown = {}
local function grow(table, bytes) grown[table] = (grown[table] or 0) + bytes end
local function write(values, index, score, table, key, value)
    local before = redis.call('HSTRLEN', P .. values .. table, key)
    if redis.call('HSET', P .. values .. table, key, value) == 1 then
        grow(table, #key + #value + 8)
    else
        grow(table, #value - before)
    end
    redis.call('ZADD', P .. index .. table, score, key)
end
local function remove(values, index, table, key)
    local before = redis.call('HSTRLEN', P .. values .. table, key)
    if redis.call('HDEL', P .. values .. table, key) == 1 then
        redis.call('ZREM', P .. index .. table, key)
        grow(table, -(#key + before + 8))
    end
end
local out = {now, 'done'}
local function tell(part) out[#out + 1] = part end
while ARGV[at] do
    local step, a, b, c, d = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    if step == 'p' then
        write('r:', 'k:', 0, a, b, c)
    elseif step == 'r' then
        remove('r:', 'k:', a, b)
    elseif step == 's' then
        write('v:', 'd:', d, a, b, c)
    elseif step == 'c' then
        remove('v:', 'd:', a, b)
    elseif step == 't' then
        local due = redis.call('ZRANGEBYSCORE', P .. 'd:' .. a, '-inf', b, 'WITHSCORES', 'LIMIT', 0, c)
        tell(#due / 2)
        for i = 1, #due, 2 do
            tell(due[i + 1])
            tell(due[i])
            tell(redis.call('HGET', P .. 'v:' .. a, due[i]))
            remove('v:', 'd:', a, due[i])
        end
    elseif step == 'x' then
        local function append(id)
            return redis.call('XADD', a, 'MAXLEN', '~', b, id, unpack(ARGV, at + 4, at + 3 + 2 * c))
        end
        local id = append('*')
        local ms, n = string.match(id, '(%d+)-(%d+)')
        -- A clock that was set back stays in one millisecond, whose places are taken: it goes on in the next one.
        if tonumber(n) > 1023 then
            redis.call('XDEL', a, id)
            id = append(string.format('%.0f-0', ms + 1))
        end
        if not place then note(id) end
    elseif step == 'n' then
        local key = d == 'k' and b .. rising or d == 'f' and b .. falling or b
        write('r:', 'k:', 0, a, key, d == 'v' and rising .. c or c)
    elseif step == 'u' then
        redis.call('HSET', P .. 'c', a, b)
    else
        local added = redis.pcall('HINCRBY', P .. 'c', a, b)
        -- It does not fit.
        if type(added) == 'table' then redis.call('HSET', P .. 'c', a, '9223372036854775807') end
        tell(redis.call('HGET', P .. 'c', a))
    end
    at = at + 1 + (sizes[step] or 3 + 2 * c)
end
if place then tell(string.format('%.0f', place)) end
for table, bytes in pairs(grown) do
    if bytes ~= 0 and redis.call('HINCRBY', P .. 'b', table, bytes) == 0 then redis.call('HDEL', P .. 'b', table) end
end
redis.call('SET', told, cmsgpack.pack(out), 'PX', 60000)
return out
