-- Record a new operation and, where asked, lease it to the caller or wake a worker: all of it or nothing.
-- KEYS: op, due, stats, wake list, pause, held, verified, idem
-- ARGV: id, now, alarm, lease, lease_until, wake message, credentials, digest of the submission ('': no idempotency key),
--       seconds that the key is kept, prefix of the op keys, then field value ...
-- Answers {what, id of the operation}: 'leased', 'accepted', 'held' (recorded, but nothing is sent to this provider now)
-- or 'exists'; of a key that was used before 'replay', 'running' or 'conflict'.
local seen = ARGV[8] ~= '' and redis.call('GET', KEYS[8])
if seen then
  local id, digest = string.match(seen, '^(%S+) (%S+)$')
  local earlier = ARGV[10] .. id
  if redis.call('EXISTS', earlier) == 1 then
    if digest ~= ARGV[8] then return {'conflict', id} end
    local lease = redis.call('HGET', earlier, 'lease')
    local running = lease and lease == redis.call('HGET', earlier, 'inline')
      and tonumber(redis.call('HGET', earlier, 'lease_until')) > tonumber(ARGV[2])
    return {running and 'running' or 'replay', id}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists', ARGV[1]} end
if ARGV[8] ~= '' then redis.call('SET', KEYS[8], ARGV[1] .. ' ' .. ARGV[8], 'EX', ARGV[9]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 11))
redis.call('HINCRBY', KEYS[3], 'accepted', 1)
local probe = redis.call('HGET', KEYS[5], 'until')
if probe then
  -- The worker makes the probe: a visitor's request would only find out the same once more.
  redis.call('HSET', KEYS[1], 'state', 'waiting')
  redis.call('ZADD', KEYS[6], ARGV[2], ARGV[1])
  redis.call('ZADD', KEYS[2], probe, ARGV[1])
  return {'held', ARGV[1]}
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
if ARGV[4] ~= '' then
  -- Credentials that never worked are tried by one operation at a time.
  if redis.call('GET', KEYS[7]) ~= ARGV[7] then redis.call('HSET', KEYS[5], 'until', ARGV[5]) end
  redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', ARGV[4], 'lease_until', ARGV[5],
    'inline', ARGV[4])
  return {'leased', ARGV[1]}
end
redis.call('HSET', KEYS[1], 'state', 'accepted')
if ARGV[6] ~= '' then redis.call('LPUSH', KEYS[4], ARGV[6]) end
return {'accepted', ARGV[1]}
