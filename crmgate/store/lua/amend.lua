-- Change the payload of a dead letter, a suspect or a waiting operation.
-- Arguments:
--   id       operation
--   version  version that its editor saw
--   event    event that is added to its history
--   people   digests of the email and phone in the payload
--   person_key   secret key of the index of persons if Redis has none yet (person.lua)
--   audit    audit entry
-- ARGV[2]: payload
-- Answers 'amended', 'changed' (the operation changed since), or its state, '' if it does not exist.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return '' end
renew(a.id)
local version = redis.call('HGET', KEYS[1], 'version') or 0
if redis.call('HGET', KEYS[1], 'event:' .. version) == a.event then return 'amended' end  -- sent again
if state ~= 'dead' and state ~= 'suspect' and not is_waiting(a.id) then return state end
if tonumber(version) ~= a.version then return 'changed' end
redis.call('HSET', KEYS[1], 'payload', ARGV[2])
note(a.id, a.event)
-- With another email or phone it is about another person: it goes to the ends of its lines.
local visit, before_it, had = unpack(redis.call('HMGET', KEYS[1], 'session', 'behind', 'lines'))
local lines = (visit and visit .. ' ' or '') .. table.concat(a.people, ' ')
if had and had ~= lines then
  local waits = is_waiting(a.id)
  if waits then leave(a.id) end
  redis.call('HSET', KEYS[1], 'lines', lines)
  drop_from_index(redis.call('HGET', KEYS[1], 'persons'), a.id)
  redis.call('HDEL', KEYS[1], 'persons')
  assign(a.id, keyed(table.concat(a.people, ' '), a.person_key))
  if waits and not join(a.id) and before_it then rouse(a.id) end
end
audit()
return 'amended'
