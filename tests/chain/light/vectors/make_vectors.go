// Prints the test vectors of comet.json: what CometBFT itself makes of fixed inputs.
//
//	go mod init vectors && go get github.com/cometbft/cometbft@v0.40.0 && go mod tidy && CGO_ENABLED=0 go run . > comet.json
package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/mldsa65"
	"github.com/cometbft/cometbft/crypto/tmhash"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"
)

type object = map[string]any

const chainID = "merit-vectors"

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func hash(text string) []byte { return tmhash.Sum([]byte(text)) }

func stamp(t time.Time) object { return object{"seconds": t.Unix(), "nanos": t.Nanosecond()} }

func blockID(id types.BlockID) object {
	return object{"hash": hex.EncodeToString(id.Hash), "parts_total": id.PartSetHeader.Total, "parts_hash": hex.EncodeToString(id.PartSetHeader.Hash)}
}

func header(h types.Header) object {
	return object{
		"app_version": h.Version.App, "chain_id": h.ChainID, "height": h.Height, "time": stamp(h.Time), "last_block_id": blockID(h.LastBlockID),
		"last_commit_hash": hex.EncodeToString(h.LastCommitHash), "data_hash": hex.EncodeToString(h.DataHash),
		"validators_hash": hex.EncodeToString(h.ValidatorsHash), "next_validators_hash": hex.EncodeToString(h.NextValidatorsHash),
		"consensus_hash": hex.EncodeToString(h.ConsensusHash), "app_hash": hex.EncodeToString(h.AppHash),
		"last_results_hash": hex.EncodeToString(h.LastResultsHash), "evidence_hash": hex.EncodeToString(h.EvidenceHash),
		"proposer_address": hex.EncodeToString(h.ProposerAddress),
		"encoded":          hex.EncodeToString(must(h.ToProto().Marshal())), "hash": hex.EncodeToString(h.Hash()),
	}
}

func commit(c *types.Commit) object {
	slots := []object{}
	for i, s := range c.Signatures {
		slot := object{"flag": s.BlockIDFlag, "validator_address": hex.EncodeToString(s.ValidatorAddress), "timestamp": stamp(s.Timestamp), "signature": hex.EncodeToString(s.Signature)}
		if s.BlockIDFlag != types.BlockIDFlagAbsent {
			slot["sign_bytes"] = hex.EncodeToString(c.VoteSignBytes(chainID, int32(i)))
		}
		slots = append(slots, slot)
	}
	return object{"height": c.Height, "round": c.Round, "block_id": blockID(c.BlockID), "signatures": slots,
		"encoded": hex.EncodeToString(must(c.ToProto().Marshal())), "hash": hex.EncodeToString(c.Hash())}
}

func hexes(items [][]byte) []string {
	out := []string{}
	for _, item := range items {
		out = append(out, hex.EncodeToString(item))
	}
	return out
}

func main() {
	// validators: keys from seeds 01.., 02.., powers that make CometBFT sort them
	var keys []mldsa65.PrivKey
	var list []*types.Validator
	given := []object{}
	byAddress := map[string]mldsa65.PrivKey{}
	for i, power := range []int64{10, 10, 7, 30, 10} {
		seed := make([]byte, mldsa65.SeedSize)
		for j := range seed {
			seed[j] = byte(i + 1)
		}
		key := must(mldsa65.GenPrivKeyFromSeed(seed))
		keys = append(keys, key)
		list = append(list, types.NewValidator(key.PubKey(), power))
		byAddress[string(key.PubKey().Address())] = key
		given = append(given, object{"seed": hex.EncodeToString(seed), "power": power, "address": hex.EncodeToString(key.PubKey().Address()), "public_key_sha256": hex.EncodeToString(tmhash.Sum(key.PubKey().Bytes()))})
	}
	set := types.NewValidatorSet(list)
	order := []string{}
	for _, v := range set.Validators {
		order = append(order, hex.EncodeToString(v.Address))
	}

	sign := func(c *types.Commit, i int) {
		key := byAddress[string(c.Signatures[i].ValidatorAddress)]
		c.Signatures[i].Signature = must(key.Sign(c.VoteSignBytes(chainID, int32(i))))
	}
	genesis := time.Unix(1_700_000_000, 123_456_789).UTC()
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes, params.Block.MaxGas = 22020096, -1

	// a chain of three heights: all sign; one is absent; one votes nil in round 2
	headers, commits, blocks := []object{}, []object{}, []object{}
	last := &types.Commit{}
	lastID := types.BlockID{}
	for h := int64(1); h <= 3; h++ {
		txs := []types.Tx{}
		for n := int64(1); n < h; n++ {
			txs = append(txs, types.Tx(hash("tx")[:8*n]))
		}
		if h == 3 { // several parts
			long := make([]byte, 150_000)
			for i := range long {
				long[i] = byte(i * 7)
			}
			txs = append(txs, long)
		}
		block := types.MakeBlock(h, txs, last, nil)
		when := genesis
		if h > 1 {
			when = must(sm.MedianTime(last, set))
		}
		block.Populate(cmtversion.Consensus{Block: version.BlockProtocol, App: 1}, chainID, when, lastID, set.Hash(), set.Hash(), params.Hash(),
			hash("app"+string(rune('0'+h))), types.NewResults(nil).Hash(), set.Validators[h].Address)
		parts := must(block.MakePartSet(types.BlockPartSizeBytes))
		id := types.BlockID{Hash: block.Hash(), PartSetHeader: parts.Header()}
		c := &types.Commit{Height: h, Round: int32(h - 1), BlockID: id}
		for i, v := range set.Validators {
			s := types.CommitSig{BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: v.Address, Timestamp: when.Add(time.Duration(1_000_000_007*(5-i)) * time.Nanosecond)}
			if h == 2 && i == 4 {
				s = types.NewCommitSigAbsent()
			} else if h == 3 && i == 1 {
				s.BlockIDFlag = types.BlockIDFlagNil
			}
			c.Signatures = append(c.Signatures, s)
			if s.BlockIDFlag != types.BlockIDFlagAbsent {
				sign(c, i)
			}
		}
		if err := types.VerifyCommit(chainID, set, id, h, c); err != nil {
			panic(err)
		}
		headers, commits = append(headers, header(block.Header)), append(commits, commit(c))
		b := object{"median_of_commit": stamp(must(sm.MedianTime(c, set))), "block_sha256": hex.EncodeToString(tmhash.Sum(must(must(block.ToProto()).Marshal())))}
		if h < 3 {
			b["txs"] = func() []string {
				raw := [][]byte{}
				for _, tx := range txs {
					raw = append(raw, tx)
				}
				return hexes(raw)
			}()
		}
		blocks = append(blocks, b)
		last, lastID = c, id
	}

	// other headers: 1970, a fraction of a second only, zero versions, empty and long application hashes
	other := func(h int64, t time.Time, app uint64, appHash []byte, id types.BlockID) object {
		return header(types.Header{Version: cmtversion.Consensus{Block: version.BlockProtocol, App: app}, ChainID: "x", Height: h, Time: t, LastBlockID: id,
			LastCommitHash: hash("a"), DataHash: hash("b"), ValidatorsHash: hash("c"), NextValidatorsHash: hash("d"), ConsensusHash: hash("e"), AppHash: appHash,
			LastResultsHash: hash("f"), EvidenceHash: hash("g"), ProposerAddress: hash("h")[:20]})
	}
	someID := types.BlockID{Hash: hash("i"), PartSetHeader: types.PartSetHeader{Total: 300, Hash: hash("j")}}
	headers = append(headers,
		other(1, time.Unix(0, 0).UTC(), 0, nil, types.BlockID{}),
		other(1<<62, time.Unix(0, 999_999_999).UTC(), 1<<40, make([]byte, 8), someID),
		other(2, time.Unix(253_402_300_799, 1).UTC(), 7, append(hash("k"), hash("l")...), someID))

	votes := []object{}
	for _, v := range []types.Vote{
		{Type: cmtproto.PrevoteType, Height: 1, Round: 0, Timestamp: genesis},
		{Type: cmtproto.PrecommitType, Height: 1, Round: 0, Timestamp: time.Unix(0, 0).UTC(), BlockID: someID},
		{Type: cmtproto.PrecommitType, Height: 1<<62 + 5, Round: 1<<31 - 1, Timestamp: genesis, BlockID: someID},
		{Type: cmtproto.PrecommitType, Height: 300, Round: 3, Timestamp: time.Time{}, BlockID: types.BlockID{}},
	} {
		votes = append(votes, object{"type": v.Type, "height": v.Height, "round": v.Round, "timestamp": stamp(v.Timestamp), "block_id": blockID(v.BlockID),
			"sign_bytes": hex.EncodeToString(types.VoteSignBytes(chainID, v.ToProto()))})
	}

	data := []object{}
	for _, n := range []int{0, 1, 2, 3, 5, 8, 13} {
		raw, txs := [][]byte{}, types.Txs{}
		for i := 0; i < n; i++ {
			tx := append(hash(string(rune(97+i))), hash("more")...)[:3*i]
			raw, txs = append(raw, tx), append(txs, tx)
		}
		data = append(data, object{"txs": hexes(raw), "hash": hex.EncodeToString(txs.Hash())})
	}

	results := []object{}
	cases := []*abci.ExecTxResult{
		{Code: 0, GasUsed: 21_000, GasWanted: 30_000, Log: "not hashed", Info: "not hashed", Codespace: "not hashed"},
		{Code: 0}, {Code: 7, Data: []byte("why"), GasUsed: 1 << 62}, {Code: 1<<32 - 1, GasWanted: -1}}
	for n := 0; n <= len(cases); n++ {
		items := []object{}
		for _, r := range cases[:n] {
			items = append(items, object{"code": r.Code, "data": hex.EncodeToString(r.Data), "gas_wanted": r.GasWanted, "gas_used": r.GasUsed})
		}
		results = append(results, object{"results": items, "hash": hex.EncodeToString(types.NewResults(cases[:n]).Hash())})
	}

	consensus := []object{}
	for _, p := range [][2]int64{{22020096, -1}, {4194304, 10_000_000}, {-1, 0}} {
		params.Block.MaxBytes, params.Block.MaxGas = p[0], p[1]
		consensus = append(consensus, object{"block_max_bytes": p[0], "block_max_gas": p[1], "hash": hex.EncodeToString(params.Hash())})
	}

	// what validators can be proved to have done: the JSON of CometBFT's RPC, the bytes in a block, what the application hears
	conflict := func(id types.BlockID) *types.Vote {
		v := &types.Vote{Type: cmtproto.PrecommitType, Height: 3, Round: 1, BlockID: id, Timestamp: genesis, ValidatorAddress: keys[0].PubKey().Address(), ValidatorIndex: 1}
		v.Signature = must(keys[0].Sign(types.VoteSignBytes(chainID, v.ToProto())))
		return v
	}
	otherID := types.BlockID{Hash: hash("m"), PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash("n")}}
	lied := &types.Header{Version: cmtversion.Consensus{Block: version.BlockProtocol, App: 1}, ChainID: chainID, Height: 5, Time: genesis, LastBlockID: someID,
		LastCommitHash: hash("o"), DataHash: hash("p"), ValidatorsHash: set.Hash(), NextValidatorsHash: set.Hash(), ConsensusHash: params.Hash(),
		AppHash: hash("q"), LastResultsHash: hash("r"), EvidenceHash: hash("s"), ProposerAddress: set.Validators[0].Address}
	liedID := types.BlockID{Hash: lied.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash("t")}}
	liedCommit := &types.Commit{Height: 5, Round: 2, BlockID: liedID}
	for i, v := range set.Validators {
		if i == 3 {
			liedCommit.Signatures = append(liedCommit.Signatures, types.NewCommitSigAbsent())
			continue
		}
		liedCommit.Signatures = append(liedCommit.Signatures, types.CommitSig{BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: v.Address, Timestamp: genesis.Add(time.Second)})
		liedCommit.Signatures[i].Signature = must(byAddress[string(v.Address)].Sign(liedCommit.VoteSignBytes(chainID, int32(i))))
	}
	attack := &types.LightClientAttackEvidence{ConflictingBlock: &types.LightBlock{SignedHeader: &types.SignedHeader{Header: lied, Commit: liedCommit}, ValidatorSet: set},
		CommonHeight: 2, ByzantineValidators: set.Validators[:2], TotalVotingPower: set.TotalVotingPower(), Timestamp: genesis}
	list3 := types.EvidenceList{
		must(types.NewDuplicateVoteEvidence(conflict(someID), conflict(otherID), genesis, set)),
		must(types.NewDuplicateVoteEvidence(conflict(types.BlockID{}), conflict(otherID), genesis.Add(time.Nanosecond), set)),
		attack,
	}
	wrapped, told := []string{}, []object{}
	for _, one := range list3 {
		if err := one.ValidateBasic(); err != nil {
			panic(err)
		}
		wrapped = append(wrapped, hex.EncodeToString(must(must(types.EvidenceToProto(one)).Marshal())))
	}
	for _, m := range list3.ToABCI() {
		told = append(told, object{"type": int32(m.Type), "validator": hex.EncodeToString(m.Validator.Address), "power": m.Validator.Power, "height": m.Height,
			"time": stamp(m.Time), "total_power": m.TotalVotingPower})
	}
	evidence := object{"json": json.RawMessage(must(cmtjson.Marshal(list3))), "evidence": wrapped, "misbehavior": told,
		"hash": hex.EncodeToString(list3.Hash())}

	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(object{
		"made_by": "make_vectors.go with github.com/cometbft/cometbft v0.40.0", "chain_id": chainID,
		"genesis_time": stamp(genesis), "validators": given, "validator_order": order, "validators_hash": hex.EncodeToString(set.Hash()),
		"headers": headers, "commits": commits, "blocks": blocks, "votes": votes, "data": data, "results": results, "consensus": consensus, "evidence": evidence,
	}); err != nil {
		panic(err)
	}
}
