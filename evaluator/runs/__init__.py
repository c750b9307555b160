"""What is kept of evaluations and compared: results, leaderboard, baselines."""
