-- Record a new operation and, where asked, wake a worker: all of it or nothing.
-- KEYS: op, due, stats, wake list   ARGV: id, alarm, state, lease, lease_until, wake message, then field value ...
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'lease', ARGV[4], 'lease_until', ARGV[5], unpack(ARGV, 7))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'accepted', 1)
if ARGV[6] ~= '' then redis.call('LPUSH', KEYS[4], ARGV[6]) end
return 1
