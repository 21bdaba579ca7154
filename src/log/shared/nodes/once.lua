-- Uses something up. KEYS 1 it; ARGV 1 deadline 2 for how many ms that is known 3 who asks: asking again is no second use
if redis.call('SET', KEYS[1], ARGV[3], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[3] then return {now, 'first'} end
return {now, 'again'}
