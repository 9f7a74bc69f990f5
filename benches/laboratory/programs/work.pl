# Reads a log into nested hashes and arrays, matches, substitutes, sorts, joins.
use strict;
use warnings;

my (%hosts, %counts, @paths, $bytes);
open my $log, '<', $ARGV[0] or die "$ARGV[0]: $!";
while (my $line = <$log>) {
    chomp $line;
    my ($host, $method, $path, $status, $length, @words) = split ' ', $line;
    push @{ $hosts{$host} }, { method => $method, status => $status, words => [@words] };
    $counts{$_}++ for @words;
    (my $turned = $path) =~ s/(\d)(\d)/$2-$1/g;
    push @paths, $turned if $path =~ m{^/([a-z]+)/\d*[02468]};
    $bytes += $length;
}
my $sum = 0;
for my $host (sort keys %hosts) {
    my @long = grep { @{ $_->{words} } > 4 } @{ $hosts{$host} };
    my $text = join ';', map { join ',', reverse @{ $_->{words} } } @long;
    $sum = ($sum * 31 + length $text) % 1_000_003;
}
my @lines = map { "$_ $counts{$_}" } sort { $counts{$b} <=> $counts{$a} || $a cmp $b } keys %counts;
my @sorted = sort @paths;
my $code = 0;
$code = ($code * 33 + unpack '%32C*', $_) % 1_000_003 for @lines, @sorted;
print scalar(keys %hosts), " $bytes $sum ", scalar(@sorted), " $code\n";
