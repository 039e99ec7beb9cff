-- Put operations into the index of persons that the previous version of crmgate accepted or ended, and their sessions.
-- Arguments:
--   ids         operations
--   person_key  secret key of the index of persons if Redis has none yet (person.lua)
-- Answers the number of operations that were changed.
local changed = 0

-- The session of a person: its plain digests become keyed ones.
local function bring_session(visit, persons)
  local seconds = visit and redis.call('TTL', session(visit)) or 0
  local who = seconds > 0 and redis.call('HGET', session(visit), 'who')
  if not who then return end
  local all = {}
  for digest in string.gmatch(who, '%S+') do
    all[#all + 1] = each_person(digest)() or keyed(digest, a.person_key)
  end
  redis.call('HSET', session(visit), 'who', table.concat(all, ' '))
  if is_of(table.concat(all, ' '), persons) then keep_session_in_index(persons, visit, seconds) end
end

for _, id in ipairs(a.ids) do
  local state, lines, persons, visit = unpack(redis.call('HMGET', op(id), 'state', 'lines', 'persons', 'session'))
  local is_new = lines and not persons and string.find(plain_of(lines, visit), '%x')
  if is_new then
    persons = keyed(plain_of(lines, visit), a.person_key)
    redis.call('HSET', op(id), 'persons', persons)
    bring_session(visit, persons)
    keep_in_index(persons, id, '+inf')
  end
  local has_ended = lines and ended(state)
  if has_ended then end_in_index(id, math.max(redis.call('TTL', op(id)), 1)) end
  if is_new or has_ended then changed = changed + 1 end
end
return changed
