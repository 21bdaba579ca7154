-- Reads rows. KEYS: what the keys of the store begin with. ARGV: deadline, what to read.
local P = KEYS[1]
local out = {now, 'read'}
local function tell(part) out[#out + 1] = part end
local function values(hash, keys, first, last)
    return redis.call('HMGET', hash, unpack(keys, first, last))
end
local at = 2
while ARGV[at] do
    local read, a, b, c, d = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    if read == 'g' or read == 's' then
        local value = redis.call('HGET', P .. (read == 'g' and 'r:' or 'v:') .. a, b)
        tell(value and 1 or 0)
        if value then tell(value) end
        at = at + 3
    elseif read == 'l' then
        local keys = redis.call('ZRANGEBYLEX', P .. 'k:' .. a, b, c, 'LIMIT', 0, d)
        tell(#keys)
        for first = 1, #keys, 1000 do
            local last = math.min(first + 999, #keys)
            for i, value in ipairs(values(P .. 'r:' .. a, keys, first, last)) do
                tell(keys[first + i - 1])
                tell(value)
            end
        end
        at = at + 5
    elseif read == 'd' or read == 'k' then
        local due = redis.call('ZRANGEBYSCORE', P .. 'd:' .. a, '-inf', b, 'WITHSCORES', 'LIMIT', 0, c)
        tell(#due / 2)
        for i = 1, #due, 2 do
            tell(due[i + 1])
            tell(due[i])
            tell(read == 'd' and redis.call('HGET', P .. 'v:' .. a, due[i]) or '')
        end
        at = at + 4
    elseif read == 'n' then
        tell(redis.call('ZLEXCOUNT', P .. 'k:' .. a, b, c))
        at = at + 4
    else
        tell(redis.call('HGET', P .. read, a) or '0')
        at = at + 2
    end
end
return out
