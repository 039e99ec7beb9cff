-- Make a dead letter of an operation whose last attempt decided so.
-- a: id, now, waits (seconds until it may return by itself, for the first time, the second ...)
despite_full()
local verdict, state, cause, returns = unpack(redis.call('HMGET', KEYS[1], 'verdict', 'state', 'cause', 'returns'))
if verdict ~= 'dead' or state == 'dead' then return 0 end
redis.call('ZADD', DEAD, a.now, a.id)
redis.call('HSET', KEYS[1], 'state', 'dead', 'dead_at', a.now)
redis.call('ZREM', DUE, a.id)
redis.call('HINCRBY', STATS, 'dead', 1)
local wait = a.waits[tonumber(returns or 0) + 1]
if cause == 'outage' and wait then redis.call('ZADD', RETURNING, a.now + wait, a.id) end
return 1
