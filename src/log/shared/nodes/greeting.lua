-- Whether the nodes that were here before are set up alike. KEYS 1 how; ARGV name, value, name, value...
for at = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[at])
  if known and known ~= ARGV[at + 1] then
    if ARGV[at] == 'secret' then
      return 'their cluster.secret_file holds another secret; all servers of a cluster need the same (to begin anew with another ' ..
        'one, stop all of them and delete the key ' .. KEYS[1] .. ')'
    end
    if ARGV[at] == 'lease' then
      return 'their cluster.lease is ' .. known .. ', that of this server ' .. ARGV[at + 1] .. '; all servers of a cluster need the ' ..
        'same (for another one, stop all of them and delete the field lease of the key ' .. KEYS[1] .. ')'
    end
    return 'their ' .. ARGV[at] .. ' are ' .. known .. ', those of this server are ' .. ARGV[at + 1]
  end
end
for at = 1, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[at], ARGV[at + 1]) end
return 'ok'
