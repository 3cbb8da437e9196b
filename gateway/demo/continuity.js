// Detects lost and repeated events by sequence numbers.
//
// The producer numbers the events of each lane 1, 2, 3 … (a lane is a category of a user or of the
// broadcasts) and reports its counts on request. A missing number is a lost event; a known number or
// id is a repeated event. The check does not rely on data from the gateway.

const IDS_KEPT = 20_000;

export class Continuity {
  received = 0;
  missed = 0;
  replayed = 0;
  lost = 0;
  repeated = 0;
  #lanes = new Map();
  #ids = new Set();
  #resumes = false; // the next stream has the same filter as an earlier one, and its position

  // Removes lanes that are no longer followed; their numbers continue unseen. Lanes that are followed
  // from now on begin at the count of the next stream.
  keep(follows) {
    for (const lane of this.#lanes.keys()) if (!follows(lane)) this.#lanes.delete(lane);
    this.#resumes = false;
  }

  // Called when the stream opens, with the present count of each lane; returns the number of missed
  // events. Events up to these counts are replayed, later ones are live.
  open(counts) {
    let missed = 0;
    for (const [name, count] of Object.entries(counts)) {
      let lane = this.#lanes.get(name);
      // All events of a lane that began while the stream was closed were missed.
      if (!lane && this.#resumes) this.#lanes.set(name, (lane = { seen: 0, replayTo: 0, begun: true }));
      if (lane) {
        // The producer restarted; a difference of 1 is an event that is not counted yet.
        if (count + 1 < lane.seen) lane.seen = 0;
        missed += Math.max(0, count - lane.seen);
        lane.replayTo = count;
      } else {
        // The first event of a new lane may precede `count`: the stream was already open.
        this.#lanes.set(name, { seen: count, replayTo: 0, begun: false });
      }
    }
    this.#resumes = true;
    this.missed += missed;
    return missed;
  }

  // Called for a gap event: the missing events were reported, so they do not count as lost.
  excuse() {
    for (const lane of this.#lanes.values()) lane.excused = true;
  }

  // Counts one event; returns "live", "replayed" or "repeated".
  count(name, number, id) {
    this.received += 1;
    const lane = this.#lanes.get(name) ?? { seen: 0, replayTo: 0, begun: true };
    this.#lanes.set(name, lane);
    const restarts = lane.excused || (!lane.begun && number <= lane.seen);
    if ((number <= lane.seen && !restarts) || this.#ids.has(id)) {
      this.repeated += 1;
      return "repeated";
    }
    if (!restarts) this.lost += number - lane.seen - 1;
    lane.seen = number;
    lane.begun = true;
    lane.excused = false;
    this.#remember(id);
    if (number > lane.replayTo) return "live";
    this.replayed += 1;
    return "replayed";
  }

  // Returns the number of events that the other device received and this one did not.
  behind(other) {
    let count = 0;
    for (const [name, lane] of other.#lanes) {
      count += Math.max(0, lane.seen - (this.#lanes.get(name)?.seen ?? lane.seen));
    }
    return count;
  }

  #remember(id) {
    this.#ids.add(id);
    if (this.#ids.size > IDS_KEPT) this.#ids.delete(this.#ids.values().next().value);
  }
}
