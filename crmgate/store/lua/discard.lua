-- End a dead letter, or a suspect, without a delivery; those behind it may go.   a: id, now, seconds   ARGV[2]: what is noted on it
local state, key = unpack(redis.call('HMGET', KEYS[1], 'state', 'session'))
if state ~= 'dead' and state ~= 'suspect' then return 0 end
note(a.id, ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'discarded')
redis.call('HDEL', KEYS[1], 'payload', 'look', 'due_at', 'verdict', 'cause')
redis.call('EXPIRE', KEYS[1], a.seconds)
for _, set in ipairs({DEAD, RETURNING, SUSPECT}) do redis.call('ZREM', set, a.id) end
redis.call('HINCRBY', STATS, 'discarded', 1)
if key and redis.call('HGET', session(key), 'first') == a.id then redis.call('HDEL', session(key), 'first', 'record', 'provider') end
free(a.id)
return 1
