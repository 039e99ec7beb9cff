-- Let a dead letter, or a suspect, go to those that wait, with all its retries.   a: id, now   ARGV[2]: what is noted on it
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'dead' and state ~= 'suspect' then return 0 end
redis.call('HDEL', KEYS[1], 'returns')
revive(a.id, ARGV[2])
redis.call('HINCRBY', STATS, 'released', 1)
pump_all()
return 1
