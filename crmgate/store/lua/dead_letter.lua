-- Make an operation a dead letter if record.lua has given it the verdict 'dead', and wake those that wait for it.
-- Arguments:
--   id   operation
-- Answers 1, or 0 if it has no such verdict or is a dead letter already.
despite_full()
local verdict, state, cause, labels = unpack(redis.call('HMGET', KEYS[1], 'verdict', 'state', 'cause', 'labels'))
if verdict ~= 'dead' or state == 'dead' then return 0 end
redis.call('ZADD', key.dead, a.now, a.id)
redis.call('HSET', KEYS[1], 'state', 'dead', 'dead_at', a.now)
redis.call('ZREM', key.due, a.id)
redis.call('HINCRBY', key.stats, 'dead', 1)
count_hour('dead')
if labels then count_day('dead', labels) end
happened('dead', a.id, file(a.id, a.now)[2])
leave(a.id)
if cause == 'outage' or cause == 'epidemic' then let_return(a.id) end
return 1
