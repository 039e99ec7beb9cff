-- Let a delivered operation wait for its provider again, because the CRM no longer has its record.
-- Arguments:
--   id       operation
--   version  version of the operation when the CRM was searched
--   record   id of the record that is gone
--   people   digests of the email and phone of its payload
--   audit    audit entry
--   to       provider
-- ARGV[2]: event that is added to its history
-- Answers 1, or 0 if it changed since, or its payload is no longer kept.
local state, visit, kind, persons, version =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'session', 'kind', 'persons', 'version'))
local payload = redis.call('GET', key.kept .. a.id)
if state ~= 'delivered' or not payload or tonumber(version or 0) ~= a.version then return 0 end
redis.call('PERSIST', KEYS[1])
redis.call('DEL', key.kept .. a.id)
redis.call('HSET', KEYS[1], 'payload', payload, 'lines', (visit and visit .. ' ' or '') .. table.concat(a.people, ' '))
redis.call('HDEL', KEYS[1], 'delivered', 'returns')
redis.call('HINCRBY', KEYS[1], 'repairs', 1)
assign(a.id, persons)
-- The session continues with the lead that the operation makes. An update of a lead that is gone makes another one by itself.
local made = not (kinds[kind] or {}).needs_lead
if visit and made and redis.call('HGET', session(visit), 'record') == a.record then make_lead_of(visit, a.id, kind) end
revive(a.id, ARGV[2])
redis.call('HSET', KEYS[1], 'look', '1')
redis.call('HINCRBY', key.stats, 'repaired', 1)
pump_all()
audit()
return 1
