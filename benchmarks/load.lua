-- wrk: each request is another person's application from another address, so that no limit applies.
-- Arguments after `--`: a number that tells this run from others.
local threads = 0

function setup(thread)
  thread:set("part", threads)
  threads = threads + 1
end

function init(args)
  run, count = args[1], 0
  headers = { ["Content-Type"] = "application/json" }
end

function request()
  count = count + 1
  local name = run .. "x" .. part .. "x" .. count
  local number = count * 8 + part
  headers["X-Forwarded-For"] = string.format("10.%d.%d.%d",
    math.floor(number / 65536) % 256, math.floor(number / 256) % 256, number % 256)
  local body = '{"personal_info": {"first_name": "Test' .. count .. '", "last_name": "Öğrenci", "email": "test'
    .. name .. '@example.com"}, "source": "website"}'
  return wrk.format("POST", "/api/v1/applications", headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\nRESULT {"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
