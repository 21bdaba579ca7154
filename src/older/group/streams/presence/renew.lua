-- Renews the lease of an instance. Gives whether it had ended, then the instances whose leases have ended.
-- KEYS: instances. ARGV: instance, lease in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
local had_ended = not score or tonumber(score) <= now
-- Lua would write so large a number with an exponent, and lose digits.
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
local reply = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
table.insert(reply, 1, had_ended and '1' or '0')
return reply
