// Proof by counting: was an event lost, and did one come twice?
//
// The producer numbers the events of each lane 1, 2, 3 … (a lane is a category of a user, or of the
// broadcasts), and tells at any time how far it has counted. A hole in a lane is a loss; a number or
// an id that was here before is a repetition. Nothing is taken from what the gateway says of itself.

const IDS_KEPT = 20_000;

export class Continuity {
  received = 0;
  missed = 0;
  replayed = 0;
  lost = 0;
  repeated = 0;
  #lanes = new Map();
  #ids = new Set();

  // Forgets the lanes that are no longer followed: they go on without us.
  keep(follows) {
    for (const lane of this.#lanes.keys()) if (!follows(lane)) this.#lanes.delete(lane);
  }

  // The stream is open, and `counts` is how far each lane has got; returns how many events were
  // missed. What follows up to those numbers is a replay, what follows after them is live.
  open(counts) {
    let missed = 0;
    for (const [name, count] of Object.entries(counts)) {
      const lane = this.#lanes.get(name);
      if (lane) {
        // The producer has begun anew; one less is an event that it has not counted yet.
        if (count + 1 < lane.seen) lane.seen = 0;
        missed += Math.max(0, count - lane.seen);
        lane.replayTo = count;
      } else {
        // A new lane may begin a little before `count`: the stream was open when we asked.
        this.#lanes.set(name, { seen: count, replayTo: 0, begun: false });
      }
    }
    this.missed += missed;
    return missed;
  }

  // The gateway has said that something cannot be seen any more: not lost in silence.
  excuse() {
    for (const lane of this.#lanes.values()) lane.excused = true;
  }

  // Counts one event and returns whether it came "live", "replayed" or "repeated".
  take(name, number, id) {
    this.received += 1;
    const lane = this.#lanes.get(name) ?? { seen: 0, replayTo: 0, begun: true };
    this.#lanes.set(name, lane);
    const anew = lane.excused || (!lane.begun && number <= lane.seen);
    if ((number <= lane.seen && !anew) || this.#ids.has(id)) {
      this.repeated += 1;
      return "repeated";
    }
    if (!anew) this.lost += number - lane.seen - 1;
    lane.seen = number;
    lane.begun = true;
    lane.excused = false;
    this.#remember(id);
    if (number > lane.replayTo) return "live";
    this.replayed += 1;
    return "replayed";
  }

  // How many events another device has seen that this one has not.
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
