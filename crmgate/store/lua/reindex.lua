-- Put operations into the index of persons that the previous version of crmgate accepted or ended during an upgrade.
-- Arguments:
--   ids         operations
--   person_key   secret key of the index of persons if Redis has none yet (person.lua)
-- Answers the number of operations that were changed.
local changed = 0
for _, id in ipairs(a.ids) do
  local state, lines, persons, visit = unpack(redis.call('HMGET', op(id), 'state', 'lines', 'persons', 'session'))
  if lines and ended(state) then
    end_in_index(id, math.max(redis.call('TTL', op(id)), 1))
    changed = changed + 1
  elseif lines and not persons and string.find(plain_of(lines, visit), '%x') then
    assign(id, keyed(plain_of(lines, visit), a.person_key))
    changed = changed + 1
  end
end
return changed
