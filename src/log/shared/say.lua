-- Publishes what no log keeps. KEYS 1 topic; ARGV 1 deadline 2 node 3 body
redis.call('SPUBLISH', KEYS[1], 'x' .. string.rep('\0', 18) .. struct.pack('>I8I2I8', now, 0, 0) .. ARGV[2] .. ARGV[3])
return {now, 'said'}
