-- Let a delivered operation wait for its provider again, because the CRM no longer has its record.
-- Arguments:
--   id       operation
--   version  version of the operation when the CRM was searched
--   people   digests of the email and phone of its payload
--   audit    audit entry
--   to       provider
-- ARGV[2]: event that is added to its history
-- Answers 1, or 0 if it changed since, or its payload is no longer kept.
local state, visit, persons, version = unpack(redis.call('HMGET', KEYS[1], 'state', 'session', 'persons', 'version'))
local payload = redis.call('GET', key.kept .. a.id)
if state ~= 'delivered' or not payload or tonumber(version or 0) ~= a.version then return 0 end
redis.call('PERSIST', KEYS[1])
redis.call('DEL', key.kept .. a.id)
redis.call('HSET', KEYS[1], 'payload', payload, 'lines', (visit and visit .. ' ' or '') .. table.concat(a.people, ' '))
redis.call('HDEL', KEYS[1], 'delivered', 'returns')
redis.call('HINCRBY', KEYS[1], 'repairs', 1)
assign(a.id, persons)
-- Its session still names the lead that is gone: an operation on that lead makes another one (record.lua).
revive(a.id, ARGV[2])
redis.call('HSET', KEYS[1], 'look', '1')
redis.call('HINCRBY', key.stats, 'repaired', 1)
pump_all()
audit()
return 1
