-- Record a new operation and, where asked, lease it to the caller or wake a worker: all of it or nothing.
-- KEYS: op, due, stats, wake list, pause, held, verified
-- ARGV: id, now, alarm, lease, lease_until, wake message, credentials, then field value ...
-- Answers 'leased', 'accepted', 'held' (recorded, but nothing is sent to this provider now) or 'exists'.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('HINCRBY', KEYS[3], 'accepted', 1)
local probe = redis.call('HGET', KEYS[5], 'until')
if probe then
  -- The worker makes the probe: a visitor's request would only find out the same once more.
  redis.call('HSET', KEYS[1], 'state', 'waiting')
  redis.call('ZADD', KEYS[6], ARGV[2], ARGV[1])
  redis.call('ZADD', KEYS[2], probe, ARGV[1])
  return 'held'
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
if ARGV[4] ~= '' then
  -- Credentials that never worked are tried by one operation at a time.
  if redis.call('GET', KEYS[7]) ~= ARGV[7] then redis.call('HSET', KEYS[5], 'until', ARGV[5]) end
  redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', ARGV[4], 'lease_until', ARGV[5])
  return 'leased'
end
redis.call('HSET', KEYS[1], 'state', 'accepted')
if ARGV[6] ~= '' then redis.call('LPUSH', KEYS[4], ARGV[6]) end
return 'accepted'
