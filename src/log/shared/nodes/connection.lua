-- Whose a connection is: node, app, client ('' while it has none), and whether it has ended.
-- KEYS 1 its row; ARGV 1 deadline 2 what: look, claim, keep or end 3 node 4 app 5 client 6 ms of life
-- look: {node, app, client, 'ended' or ''}, or {''}
-- claim: {'taken', node before}, {'other', client} or {'ended'}; keep, end: {'kept'} or {'moved'}
local row = redis.call('HMGET', KEYS[1], 'node', 'app', 'client', 'ended')
local node, client, ended = row[1], row[3] or '', row[4]
local what = ARGV[2]
if what == 'look' then
  if not node then return {now, ''} end
  return {now, node, row[2], client, ended or ''}
end
if what == 'claim' then
  if ended then return {now, 'ended'} end
  if client ~= '' and client ~= ARGV[5] then return {now, 'other', client} end
elseif node and node ~= ARGV[3] then
  return {now, 'moved'}
end
redis.call('HSET', KEYS[1], 'node', ARGV[3], 'app', ARGV[4], 'client', ARGV[5])
if what == 'end' then redis.call('HSET', KEYS[1], 'ended', 'ended') end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if what == 'claim' then return {now, 'taken', node or ''} end
return {now, 'kept'}
