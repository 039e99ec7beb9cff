-- Change the payload of a dead letter, or of a suspect.
-- a: id, version (the one that its editor saw), event (what is noted on it)   ARGV[2]: payload
-- Answers 'amended', 'changed' (something happened to it since), or its state; '' if there is none.
local state, version = unpack(redis.call('HMGET', KEYS[1], 'state', 'tries'))
if version and redis.call('HGET', KEYS[1], 'attempt:' .. version) == a.event then return 'amended' end  -- asked again
if state ~= 'dead' and state ~= 'suspect' then return state or '' end
if tonumber(version or 0) ~= a.version then return 'changed' end
redis.call('HSET', KEYS[1], 'payload', ARGV[2])
note(a.id, a.event)
return 'amended'
