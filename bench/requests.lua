-- The requests of one operation (named in the first argument) on todos 1 to the second argument, in
-- an order that is the same for every peer; at the end one line of JSON says how it went.

local CONTENT = { ["Content-Type"] = "application/json" }

local operations = {
   ["GET one"] = function(id) return wrk.format("GET", "/api/v1/todos/" .. id) end,
   ["list of 1,000"] = function() return wrk.format("GET", "/api/v1/todos") end,
   -- What changes nothing, an ORM does not write.
   ["PUT"] = function(id, round)
      local body = string.format('{"title": "Todo %d, change %d", "completed": %s}', id, round, round % 2 == 0)
      return wrk.format("PUT", "/api/v1/todos/" .. id, CONTENT, body)
   end,
   ["POST"] = function(id)
      local body = string.format(
         '{"title": "Todo %d", "description": "Made for the measurement", "deadline_at": "2027-01-31T18:00:00"}', id)
      return wrk.format("POST", "/api/v1/todos", CONTENT, body)
   end,
}

local requests, sent = {}, 0

function init(arguments)
   local rows = tonumber(arguments[2])
   for round = 1, 2 do
      for n = 1, 1000 do
         requests[#requests + 1] = operations[arguments[1]]((n * 619) % rows + 1, round)
      end
   end
end

function request()
   sent = sent + 1
   return requests[sent % #requests + 1]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"rate": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
