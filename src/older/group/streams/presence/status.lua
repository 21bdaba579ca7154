-- What is known of a user: whether anything, then its four fields.
-- KEYS: shares of the user, status of the user, instances.
local status = redis.call('HMGET', KEYS[2], 'is_online', 'last_seen', 'last_online_at', 'last_offline_at')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shares = redis.call('HKEYS', KEYS[1])
-- Without shares the status was written by somebody else, and counts.
if #shares > 0 then
    status[1] = '0'
    for _, instance in ipairs(shares) do
        local score = redis.call('ZSCORE', KEYS[3], instance)
        if score and tonumber(score) > now then
            status[1] = '1'
        end
    end
end
-- A nil would end the array; what is not there is false in Lua, nil in the answer.
table.insert(status, 1, redis.call('EXISTS', KEYS[2]))
return status
