-- Whether anything has happened to channels that nobody has heard of for a while; keeps what there is of them.
-- KEYS of each channel: leases, head, members, counts, objects
-- ARGV 1 deadline 2 node, then of each channel: milliseconds to keep it, and its objects, epoch and place that were seen,
-- counts of the node, sums of the counts of the others
-- {a digit for each: 1 if its log has other entries, 2 if its counts are others, 3 if both}
local alive = {}
local function is_alive(leases, node)
  if alive[leases .. node] == nil then
    local lease = redis.call('ZSCORE', leases, node)
    alive[leases .. node] = lease and tonumber(lease) >= now or false
  end
  return alive[leases .. node]
end
local none = string.rep('\0', 32)
local told = {}
for arg = 3, #ARGV, 5 do
  local at = arg - 2
  for key = at + 1, at + 3 do redis.call('PEXPIRE', KEYS[key], ARGV[arg]) end
  redis.call('PEXPIRE', KEYS[at + 4], ARGV[arg + 1])
  local digit = 0
  local head = redis.call('GET', KEYS[at + 1])
  if not head or head:sub(1, 18) ~= ARGV[arg + 2] then digit = 1 end
  local own, sums = none, {0, 0, 0, 0, 0, 0, 0, 0}
  local all = redis.call('HGETALL', KEYS[at + 3])
  for of = 1, #all, 2 do
    if all[of] == ARGV[2] then
      own = all[of + 1]
    elseif is_alive(KEYS[at], all[of]) then
      for place = 1, 8 do sums[place] = sums[place] + struct.unpack('>I4', all[of + 1], place * 4 - 3) end
    end
  end
  for place = 1, 8 do sums[place] = struct.pack('>I4', sums[place]) end
  if own ~= ARGV[arg + 3] or table.concat(sums) ~= ARGV[arg + 4] then digit = digit + 2 end
  told[#told + 1] = digit
end
return {now, table.concat(told)}
