-- Tells those who hear a topic something. KEYS 1 topic; ARGV 1 deadline 2 what. {how many hear it}
return {now, redis.call('SPUBLISH', KEYS[1], ARGV[2])}
