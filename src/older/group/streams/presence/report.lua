-- Sets how many connections of a user an instance has, and what follows from it.
-- KEYS: shares of the user, status of the user, instances, all who are online, users of the instance.
-- ARGV: instance, connections, user, Unix seconds, how long the status and the shares are kept in s, 1: only
-- if the lease of the instance has ended.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function is_alive(instance)
    local score = redis.call('ZSCORE', KEYS[3], instance)
    return score and tonumber(score) > now
end
if ARGV[7] == '1' and is_alive(ARGV[1]) then
    return 'alive'
end
if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('SREM', KEYS[5], ARGV[3])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('SADD', KEYS[5], ARGV[3])
end
local is_online = false
for _, instance in ipairs(redis.call('HKEYS', KEYS[1])) do
    if instance == ARGV[1] or is_alive(instance) then
        is_online = true
    else
        redis.call('HDEL', KEYS[1], instance)
    end
end
local was = redis.call('HGET', KEYS[2], 'is_online')
local was_online = was == '1' or was == 'true'
if is_online then
    redis.call('SADD', KEYS[4], ARGV[3])
    redis.call('HSET', KEYS[2], 'is_online', '1', 'last_seen', ARGV[4])
    redis.call('HSETNX', KEYS[2], 'last_offline_at', '0')
    if not was_online then
        redis.call('HSET', KEYS[2], 'last_online_at', ARGV[4])
    end
else
    redis.call('SREM', KEYS[4], ARGV[3])
    if was_online then
        redis.call('HSET', KEYS[2], 'is_online', '0', 'last_seen', ARGV[4], 'last_offline_at', ARGV[4])
    end
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 'told'
