# The limiter that Mastodon runs, with its rules for reading, shortened: windows of 3 and 9 seconds.
require "rack/attack"
require "time"

# Counts in memory; Rack::Attack puts the number of the window into the key.
class Counts
  def initialize
    @counts = Hash.new(0)
    @lock = Mutex.new
  end

  def increment(key, amount = 1, **)
    @lock.synchronize { @counts[key] += amount }
  end

  def read(key)
    @lock.synchronize { @counts[key] }
  end

  def write(key, value, **)
    @lock.synchronize { @counts[key] = value }
  end
end

Rack::Attack.cache.store = Counts.new
PAGED = %w[page min_id max_id since_id].freeze

Rack::Attack.throttle("unauthenticated_api", limit: 30, period: 3) { |request| request.ip }
Rack::Attack.throttle("unauthenticated_paging", limit: 30, period: 9) do |request|
  request.ip if PAGED.any? { |name| request.params.key?(name) }
end

def headers_of(data, now)
  nearest = data.values.min_by { |one| one[:limit] - one[:count] }
  return {} if nearest.nil?

  reset = now + (nearest[:period] - now.to_i % nearest[:period])
  {
    "X-RateLimit-Limit" => nearest[:limit].to_s,
    "X-RateLimit-Remaining" => [nearest[:limit] - nearest[:count], 0].max.to_s,
    "X-RateLimit-Reset" => reset.utc.iso8601(6)
  }
end

Rack::Attack.throttled_responder = lambda do |request|
  data = { request.env["rack.attack.matched"] => request.env["rack.attack.match_data"] }
  headers = headers_of(data, Time.now).merge("Content-Type" => "application/json")
  [429, headers, ['{"error":"Too many requests"}']]
end

use Rack::Attack
run(lambda do |env|
  headers = headers_of(env["rack.attack.throttle_data"] || {}, Time.now)
  [200, headers.merge("Content-Type" => "application/json"), ["[]"]]
end)
