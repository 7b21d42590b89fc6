// Descents in integers, side by side: what projection_int16 and projection_int8 share. How a family looks at the gains of a row
// is its own matter: key_mask, flip_and_look and best_of of its descent.

constexpr std::size_t kFlipsOfPass = 4;

// A flip that a pass applies: a row of couplings and the spin before, or a row of zeros for none at all.
template <class Coupling>
struct IntegerFlip {
    const Coupling* couplings;
    std::int16_t spin;
};

// A flip that may be good: its gain, above the bits that say where. Equal ones are told apart by that.
struct Int16Candidate {
    static constexpr int kIndices = 1 << 15;

    Int16Candidate() = default;
    Int16Candidate(std::int16_t its_gain, std::size_t its_index)
        : both(its_gain * kIndices + static_cast<int>(its_index)) {}

    int gain() const { return both >> 15; }
    std::size_t index() const { return static_cast<std::size_t>(both & (kIndices - 1)); }

    int both = 0;
};

// How a family of kernels looks at the gains of a row: what it keeps of them, Slots, and
//   look(row, flips...)     takes the flips off the fields and looks at all gains
//   best(row, slots, quarter)   the best flip of a quarter of the slots
template <class Descent>
struct Looks;

// One of the rows after another, and the flips that the next pass over it applies: the best of every quarter of the
// slots, if it is still good after those that are better.
template <class Descent>
class Walk {
public:
    bool at_work() const { return row_ != nullptr; }

    // Begins with a row, whose gains are looked at.
    void take(Descent& row, std::size_t most_passes) {
        row_ = &row;
        state_ = row;
        passes_left_ = most_passes;
        slots_ = Looks<Descent>::look(state_);
    }

    // Makes the chosen flips.
    void flip() { slots_ = Looks<Descent>::look(state_, flips_[0], flips_[1], flips_[2], flips_[3]); }

    // Finds candidates, best first.
    void find() {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < kFlipsOfPass; ++k) {
            best_[k] = Looks<Descent>::best(state_, slots_, k);
        }
        order(best_[0], best_[1]);
        order(best_[2], best_[3]);
        order(best_[0], best_[2]);
        order(best_[1], best_[3]);
        order(best_[1], best_[2]);
#pragma GCC unroll 4
        for (std::size_t k = 0; k < kFlipsOfPass; ++k) {
            // Where there are fewer coordinates than slots the best may be none of them.
            const std::size_t row = best_[k].index() < state_.zero_row ? best_[k].index() : state_.zero_row;
            rows_[k] = row * state_.stride;
        }
    }

    // Chooses the next flips; at the end of the row there are none, and it is let go.
    void choose() {
        const bool settled = best_[0].gain() <= 0;
        if (settled || passes_left_ == 0) {
            row_->settled = settled;
            row_ = nullptr;
            return;
        }
        --passes_left_;
        const std::size_t none = state_.zero_row * state_.stride;
        int flipped[kFlipsOfPass];  // the spin before, or 0
#pragma GCC unroll 4
        for (std::size_t k = 0; k < kFlipsOfPass; ++k) {
            const std::size_t i = best_[k].index();
            const int spin = state_.spins[i];
            int change = 0;
#pragma GCC unroll 4
            for (std::size_t l = 0; l < k; ++l) {
                change += state_.couplings[rows_[l] + i] * flipped[l];
            }
            const int gain = best_[k].gain() - change * spin;
            // Selects by arithmetic: these branches mispredict about half of the time.
            const int applies = gain > 0 ? -1 : 0;
            const std::size_t row = none ^ ((rows_[k] ^ none) & static_cast<std::size_t>(applies));
            flipped[k] = spin & applies;
            flips_[k] = {state_.couplings + row, static_cast<std::int16_t>(flipped[k])};
        }
#pragma GCC unroll 4
        for (std::size_t k = 0; k < kFlipsOfPass; ++k) {
            std::int16_t& spin = state_.spins[best_[k].index()];
            spin = static_cast<std::int16_t>(spin - 2 * flipped[k]);
        }
    }

private:
    using Coupling = Descent::Coupling;

    static void order(Int16Candidate& a, Int16Candidate& b) {
        const int larger = a.both > b.both ? a.both : b.both;
        b.both = a.both > b.both ? b.both : a.both;
        a.both = larger;
    }

    Descent* row_ = nullptr;
    Descent state_{};  // a copy that fields cannot alias
    std::size_t passes_left_ = 0;
    Looks<Descent>::Slots slots_{};
    Int16Candidate best_[kFlipsOfPass] = {};
    std::size_t rows_[kFlipsOfPass] = {};  // where their couplings begin
    IntegerFlip<Coupling> flips_[kFlipsOfPass] = {};
};

// Rows side by side: all make their flips, then all choose the next ones. A choice is a long chain of short operations,
// which takes as long for several rows at once as for one.
constexpr std::size_t kSideBySide = 3;

template <class Descent>
inline void descend_rows(Descent* rows, std::size_t count, std::size_t most_passes) {
    Walk<Descent> walks[kSideBySide];
    std::size_t next = 0;
    const auto take_next = [&](Walk<Descent>& walk) {
        while (next < count && rows[next].settled) {
            ++next;
        }
        if (next < count) {
            walk.take(rows[next++], most_passes);
        }
    };
    bool at_work = true;
    while (at_work) {
        at_work = false;
        for (Walk<Descent>& walk : walks) {
            if (walk.at_work()) {
                walk.flip();
            } else {
                take_next(walk);
            }
        }
        for (Walk<Descent>& walk : walks) {
            if (walk.at_work()) {
                walk.find();
            }
        }
        for (Walk<Descent>& walk : walks) {
            if (walk.at_work()) {
                walk.choose();
                at_work = true;
            }
        }
    }
}
