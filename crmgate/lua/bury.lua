-- Make a dead letter of an operation whose last attempt decided so.
-- KEYS: op, due, dead, stats   ARGV: id, now
if redis.call('HGET', KEYS[1], 'verdict') ~= 'dead' or redis.call('HGET', KEYS[1], 'state') == 'dead' then return 0 end
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'dead', 'dead_at', ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[4], 'dead', 1)
return 1
