-- Remove everything that connects ended operations and sessions with a person. Of a receipt the state and the record in the CRM
-- stay; its kept payload and its history go, because a refusal of the CRM may quote what the visitor typed.
-- Arguments:
--   ids       operations; those that have not ended stay as they are
--   sessions  digests of sessions
--   persons   keyed digests of the person's email and phone
--   audit     audit entry
-- Answers the number of operations that were left, because they have not ended.
despite_full()
local left = 0
for _, id in ipairs(a.ids) do
  local state, persons = unpack(redis.call('HMGET', op(id), 'state', 'persons'))
  if ended(state) then
    drop_from_index(persons, id)
    redis.call('HDEL', op(id), 'persons', 'session', 'lines')
    redis.call('DEL', key.kept .. id)
    for _, field in ipairs(redis.call('HKEYS', op(id))) do
      if string.find(field, '^event:') or string.find(field, '^attempt:') then redis.call('HDEL', op(id), field) end
    end
    for _, digest in ipairs(a.persons) do drop_from_index(digest, id) end
  else
    left = left + 1
  end
end
for _, visit in ipairs(a.sessions) do
  drop_from_index(redis.call('HGET', session(visit), 'who'), 's:' .. visit)
  for _, digest in ipairs(a.persons) do drop_from_index(digest, 's:' .. visit) end
  redis.call('DEL', session(visit))
end
audit()
return left
