-- Forgets an instance whose lease has ended, or (1) any.
-- KEYS: instances, users of the instance. ARGV: instance, 1: even if its lease has not ended.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == '1' or not score or tonumber(score) <= now then
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('DEL', KEYS[2])
end
return 'OK'
